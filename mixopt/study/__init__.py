"""What a study of any kind does: its file, its folder, its text, its proxies."""
