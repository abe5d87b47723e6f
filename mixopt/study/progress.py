"""Progress of stages, as callbacks: silent here, for notebooks and tests; `cli.console` draws it."""

from mixopt.report.document import Document


class Progress:
    """Receives the stages, the work done within one, and notes. Shows nothing itself."""

    def stage(self, title: str, *, total: float | None = None) -> None:
        """A stage begins. total: its amount of work, in a unit of its own; None: unknown."""

    def update(self, done: float, text: str = "") -> None:
        """The stage has done this much of its total; text: where it is, in a few words."""

    def finish(self, text: str = "") -> None:
        """The stage is over; text: its result."""

    def answer(self, document: Document) -> None:
        """The answer to the study's question, before it is saved."""

    def note(self, message: str) -> None:
        """Something that the user should know, in one sentence."""
