"""From measurements to a verdict: paired tests, intervals, the noise floor and the gate."""
