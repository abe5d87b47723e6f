"""The kinds of studies by name: how each is read, checked and worked through."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mixopt.continual.config import ContinualStudy, continual_problems
from mixopt.errors import MixoptError
from mixopt.mixture.config import Study, problems
from mixopt.repetition.config import RepetitionStudy, repetition_problems
from mixopt.study.config import AnyStudy, Problems


@dataclass(frozen=True)
class Kind:
    """record: what its study files hold. problems: what their parts say against each other.

    stages: the module with this kind's own stages, imported when they are needed: plan(session, shards),
    collect(session, plan), fitted(session, table), recommend(session, table), write_report(session), and for the
    terminal show(console, recommendation), show_fit(console, fitted) and outputs(session). A kind whose studies may
    bring runs also has import_runs(session), one that recommends a mixture export(session), one whose runs depend on
    each other train(session, plan, shards), one that recommends what can be trained verify(session) and
    show_verified(console, verified).
    """

    record: type[AnyStudy]
    problems: Callable[[Any], Problems]
    stages: str

    def load(self) -> Any:
        return import_module(self.stages)


KINDS = {
    "mixture": Kind(Study, problems, "mixopt.mixture.kind"),
    "repetition": Kind(RepetitionStudy, repetition_problems, "mixopt.repetition.kind"),
    "continual": Kind(ContinualStudy, continual_problems, "mixopt.continual.kind"),
}
DEFAULT = "mixture"  # of a study file that names no kind


def named(kind: object) -> Kind:
    """The kind of this name. Raises MixoptError for a name that no kind has."""
    if isinstance(kind, str) and kind in KINDS:
        return KINDS[kind]
    near = difflib.get_close_matches(str(kind), KINDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(KINDS)}"
    raise MixoptError(f"no kind of study is called {kind!r}: {hint}")
