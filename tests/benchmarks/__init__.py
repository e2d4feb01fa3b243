"""The benchmark runs and its page is what it says it is. How fast anything was is no test's business."""
