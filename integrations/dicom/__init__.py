"""DICOM: objects come in and become orders, results go out as structured reports.

In: C-STORE from scanners and archives; results and readings. Out: instances and orders; reports by C-STORE
or STOW-RS, and an Outcome for each attempt. Nothing here knows the database, the queue or the model, and no
pixel is decoded.
"""
