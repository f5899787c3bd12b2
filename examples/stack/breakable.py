"""A scikit-learn model in MLServer that breaks after a while: see serve.py."""
import asyncio
import os
import random
import time

from mlserver.errors import MLServerError
from mlserver_sklearn import SKLearnModel

HOW = os.environ.get("BREAK", "")
AFTER = float(os.environ.get("BREAK_AFTER", "60"))
PART = 1 / 3


class Breakable(SKLearnModel):
    since = None

    async def predict(self, payload):
        self.since = self.since or time.monotonic()
        if not HOW or time.monotonic() - self.since < AFTER:
            return await super().predict(payload)
        if HOW == "slow":
            await asyncio.sleep(0.5)
        elif HOW == "errors" and random.random() < PART:
            raise MLServerError("broken on purpose", 500)
        answer = await super().predict(payload)
        if HOW == "nulls" and random.random() < PART:
            for output in answer.outputs:
                output.data.root = [None]
        return answer
