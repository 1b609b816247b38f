"""Speech in another language -> the same recording with an English voice: translated, spoken, fitted, mixed, marked."""
