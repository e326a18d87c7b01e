"""What results in pairs show."""
