"""A progress that keeps what stages say."""

from mixopt.study.progress import Progress


class Recorder(Progress):
    """finished: the last message of every stage, by title. notes: in their order."""

    def __init__(self):
        self.finished: dict[str, str] = {}
        self.title = ""
        self.notes: list[str] = []

    def stage(self, title, *, total=None):
        self.title = title

    def finish(self, text=""):
        self.finished[self.title] = text

    def note(self, message):
        self.notes.append(message)
