"""Results as pages. In: `Evaluation`, `Comparison`. Out: one HTML file that needs nothing else."""
