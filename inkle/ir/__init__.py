"""The words of inkle: element types, the op table, nodes, bounds, the four forms and their specs."""
