"""What a learner can click on in a notebook: each a pure core, a shell, and a static view where nobody can click."""
