"""What a file lacks. Events hold only the branches that were asked for, so the engine tells it again from the whole file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hhh_coffea.base.errors import listed, nearest


class MissingError(KeyError):
    """Something that a run needs is not in a file; the message names it, what asked for it, and what there is instead."""

    def told_from(self, branches: Mapping[str, bool]) -> MissingError:
        """The same with what the file has: its branches at top level, and which of them hold others."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type[KeyError], tuple[str, ...]]:
        return KeyError, self.args  # on its way from a dask worker


class MissingCollectionError(MissingError):
    """A Delphes file has no collection of this name; ``role`` is the metadata field that names it."""

    def __init__(self, name: str, role: str, there: Iterable[str]) -> None:
        super().__init__(f"no collection {name!r} (metadata field {role!r}); the file has {listed(there)}")
        self.name, self.role = name, role

    def told_from(self, branches: Mapping[str, bool]) -> MissingCollectionError:
        """Told from all collections."""
        return MissingCollectionError(self.name, self.role, (name for name, group in branches.items() if group))


class MissingBranchError(MissingError):
    """A NanoAOD file has no branch of this name; ``wanted_by`` is the metadata field that asks for it, if one does."""

    def __init__(self, branch: str, wanted_by: str, there: Iterable[str]) -> None:
        collection, _, leaf = branch.partition("_")
        names = sorted(there)
        leaves = [name.removeprefix(f"{collection}_") for name in names if name.startswith(f"{collection}_")]
        if leaf and leaves:
            near = nearest(leaf, leaves, cutoff=0.3)
            hint = (
                f"the file has {', '.join(f'{collection}_{one}' for one in near)}"
                if near
                else f"the file has {len(leaves)} branches {collection}_…, none like it"
            )
        else:
            collections = {name.partition("_")[0] for name in names}
            hint = f"the file has {listed(name for name in collections if not name.startswith(('HLT', 'L1')))}"
        super().__init__(f"no branch {branch}{f' ({wanted_by})' if wanted_by else ''}; {hint}")
        self.branch, self.wanted_by = branch, wanted_by

    def told_from(self, branches: Mapping[str, bool]) -> MissingBranchError:
        """Told from all branches."""
        return MissingBranchError(self.branch, self.wanted_by, branches)
