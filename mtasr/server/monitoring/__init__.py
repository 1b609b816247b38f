"""What whoever runs the server looks at: health, figures, the log."""
