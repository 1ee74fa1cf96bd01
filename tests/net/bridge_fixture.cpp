#include "tests/net/bridge_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/check.h"

namespace troupe::testing {

Listener::Listener() {
  fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  TROUPE_CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  TROUPE_CHECK(::listen(fd, 4096) == 0);
  TROUPE_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port = ntohs(address.sin_port);
}

Listener::~Listener() { ::close(fd); }

std::shared_ptr<const ServedModel> oracle_model(std::string name) {
  auto model = std::make_shared<ServedModel>();
  model->name = std::move(name);
  auto tokenizer = Tokenizer::make(oracle_tokenizer_spec());
  TROUPE_CHECK(tokenizer.has_value());
  model->tokenizer = *tokenizer;
  auto parsed = ChatTemplate::parse(
      "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  TROUPE_CHECK(parsed.has_value());
  model->chat_template = std::make_shared<const ChatTemplate>(*parsed);
  model->context = 2048;
  model->created = 1'700'000'000;
  return model;
}

router_out::Piece piece(std::string text, std::vector<TokenId> tokens, Finish finish,
                        int32_t choice) {
  router_out::Piece made;
  made.choice = choice;
  made.text = std::move(text);
  made.tokens = std::move(tokens);
  made.finish = finish;
  return made;
}

TestSink::~TestSink() = default;

void TestSink::set_mode(Mode mode) {
  const std::lock_guard lock(mutex_);
  mode_ = mode;
}

void TestSink::submit(ClientRequest request) {
  {
    const std::lock_guard lock(mutex_);
    ++submitted_;
    if (mode_ == Mode::hand_over) {
      requests_.push_back(std::move(request));
      changed_.notify_all();
      return;
    }
  }
  answer(request);
}

void TestSink::client_gone(RequestId id) {
  const std::lock_guard lock(mutex_);
  gone_.push_back(id);
  changed_.notify_all();
}

template <class T>
std::optional<T> TestSink::take(std::deque<T>& from) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, std::chrono::seconds(5), [&] { return !from.empty(); }))
    return std::nullopt;
  T taken = std::move(from.front());
  from.pop_front();
  return taken;
}

std::optional<ClientRequest> TestSink::next() { return take(requests_); }
std::optional<RequestId> TestSink::next_gone() { return take(gone_); }

size_t TestSink::submitted() {
  const std::lock_guard lock(mutex_);
  return submitted_;
}

void TestSink::answer(const ClientRequest& request) {
  router_out::Deliver delivery;
  delivery.id = request.id;
  delivery.last = true;
  delivery.keep = request.cache_key.has_value();
  delivery.cache = request.cache_key ? CacheOutcome::miss : CacheOutcome::not_cacheable;
  for (int32_t choice = 0; choice < request.choices; ++choice)
    for (int32_t i = 0; i < request.max_new; ++i) {
      auto made = piece(" tok", {TokenId(300)},
                        i + 1 == request.max_new ? Finish::length : Finish::none, choice);
      if (request.sampling.n_logprobs >= 0) made.logprobs = {{-1.0f, {}}};
      delivery.pieces.push_back(std::move(made));
    }
  delivery.timings.prompt_tokens = static_cast<int32_t>(request.prompt.size());
  delivery.timings.generated_tokens = request.max_new * request.choices;
  delivery.timings.attempts = 1;
  std::vector<router_out::Deliver> batch;
  batch.push_back(std::move(delivery));
  bridge_->deliver(std::move(batch));
}

TestBridge::TestBridge(BridgeConfig config) {
  config.listener = listener.fd;
  config.build = "test";
  config.node = "n1";
  auto started = Bridge::start(std::move(config), sink);
  TROUPE_CHECK(started.has_value(), started ? std::string() : started.error().message);
  bridge = std::move(*started);
  sink.attach(*bridge);
  bridge->set_models({oracle_model()});
  BridgeState state;
  state.readiness = {true, "", {{"oracle", 1, 1, ""}}};
  bridge->set_state(std::move(state));
}

}  // namespace troupe::testing
