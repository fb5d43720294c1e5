"""How replacing works: patterns, rules, what is known about values, and the engine."""
