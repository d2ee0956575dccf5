"""A writer of figures that keeps the axes of each, for tests of what stands in them."""

from contextlib import contextmanager

from hhh_coffea.figures.looks.style import Writer


class Kept(Writer):
    """``axes`` are those of each figure by its name, as they were saved."""

    def __init__(self, folder):
        super().__init__(folder, ("png",))
        self.axes = {}

    def figure(self, name, *args, **kwargs):
        @contextmanager
        def keep():
            with super(Kept, self).figure(name, *args, **kwargs) as axes:
                yield axes
                self.axes[name] = list(axes)

        return keep()
