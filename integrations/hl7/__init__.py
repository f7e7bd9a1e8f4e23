"""HL7 v2: orders in, results back, over MLLP."""
