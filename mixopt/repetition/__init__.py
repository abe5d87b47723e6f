"""Studies of repetition: a ladder of sizes, amounts of text and epochs, and what one more epoch is worth."""
