//! OpenAI's protocol, as vLLM, SGLang, llama.cpp, OpenAI and many more speak it: chat, completions and responses,
//! streamed or not.

pub(super) mod answer;
pub(super) mod request;
