"""From model outputs to image scores, anomaly maps and labels."""
