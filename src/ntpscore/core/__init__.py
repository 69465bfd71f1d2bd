"""The mathematics: tensors in, tensors out; nothing here knows of files, models or text."""
