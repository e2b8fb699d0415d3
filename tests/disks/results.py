"""What a self-test of a rig expects, and what came of it."""


class Results:
    def __init__(self, rig):
        self.rig, self.passed, self.failed = rig, 0, 0

    def expect(self, what, is_so):
        self.passed += bool(is_so)
        self.failed += not is_so
        print(f"{self.rig} self-test: {what}: {'as it should' if is_so else 'NOT AS IT SHOULD'}")

    def end(self):
        """How many failed."""
        print(f"{self.rig} self-test: {self.passed} passed, {self.failed} failed")
        return self.failed
