"""The words of inkle: element types, the op table, nodes, bounds, four forms and their specs."""
