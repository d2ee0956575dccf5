"""``python -m hhh_coffea.study``."""

import sys

from hhh_coffea.study.command import main

if __name__ == "__main__":
    sys.exit(main())
