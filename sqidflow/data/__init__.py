"""The raw data: the published formats of ESCI and SQID, their checks, import, encoding and a synthetic sample."""
