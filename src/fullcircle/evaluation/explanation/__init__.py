"""Why answers are what they are: Shapley values, sentences, shuffled columns, a glass-box rival."""
