"""Tables, figures and pages: reads scores and examples, never a network."""
