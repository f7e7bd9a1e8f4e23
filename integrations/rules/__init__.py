"""Site rules: which order asks which questions, at which priority, and who is told.

In: the text of a rules file, and orders. Out: questions, and the reason for each. Nothing here knows a
message format, the store or the model.
"""
