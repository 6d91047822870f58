"""Tables, figures and pages made from finished comparisons and runs."""
