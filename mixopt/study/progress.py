"""What a stage tells whoever watches. The silent one here is for notebooks and tests; `terminal` draws it."""


class Progress:
    """Told of stages, of work done within one, and of things to know. Says nothing itself."""

    def stage(self, title: str, *, total: float | None = None) -> None:
        """A stage begins. total: its amount of work, in units of the stage's own; None: unknown."""

    def update(self, done: float, text: str = "") -> None:
        """The stage has done this much of its total; text: a few words on where it is."""

    def finish(self, text: str = "") -> None:
        """The stage is over; text: what came of it."""

    def note(self, message: str) -> None:
        """Something that the user should know, in one sentence."""
