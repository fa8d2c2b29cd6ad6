def write_report(*a): raise SystemExit("report not written yet")
