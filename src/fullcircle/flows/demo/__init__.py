"""The demo: a made-up lender, played week by week against a real server, with troubles that are known beforehand."""
