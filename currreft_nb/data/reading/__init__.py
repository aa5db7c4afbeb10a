"""What readers share: rows of tables, JSON streams, wording of questions."""
