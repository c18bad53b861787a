"""The class that callbacks of LiteLLM are made of, as far as a recipe needs it."""


class CustomLogger:
    pass
