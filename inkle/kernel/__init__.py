"""From a loop nest to a program: transforms, the choice among them, and linearisation."""
