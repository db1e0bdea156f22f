"""What stands behind `AnomalyDetector`: thresholds, segments, answers, streams, pictures."""
