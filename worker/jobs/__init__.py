"""The vocabulary: pure values and the rules between them. No input, no output, no clock."""
