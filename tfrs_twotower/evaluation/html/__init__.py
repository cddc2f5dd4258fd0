"""The page `report.html`, which presents a report to people."""
