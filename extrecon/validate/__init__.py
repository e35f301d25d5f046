"""Pictures that show what a regularizer did."""
