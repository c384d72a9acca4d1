"""The front door: is this request a watch? Else it is the app's."""
