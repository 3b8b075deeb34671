"""The audit: where a ranker fails, for whom, and why; on real judgements and on answers of the service's core."""
