"""An app in which nothing is live."""

from fastapi import FastAPI

app = FastAPI()
