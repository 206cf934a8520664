"""What the API is asked and answers: the models that the server and the client share."""
