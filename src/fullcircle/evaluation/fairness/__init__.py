"""What the fairness check is made of: groups and gaps, the figures per group, proxies."""
