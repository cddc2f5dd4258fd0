"""`report.html`: the page that shows a report to people."""
