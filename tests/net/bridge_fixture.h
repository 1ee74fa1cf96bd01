// A real Bridge on port 0 with a sink that either answers at once or hands requests to the test.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "net/bridge.h"

namespace troupe::testing {

/// A listening socket on 127.0.0.1, port 0.
struct Listener {
  Listener();
  ~Listener();
  int fd = -1;
  uint16_t port = 0;
};

/// The oracle's tokenizer and a template with one line a message. 2,048 positions.
std::shared_ptr<const ServedModel> oracle_model(std::string name = "oracle");

class TestSink final : public RequestSink {
 public:
  enum class Mode { answer_at_once, hand_over };

  ~TestSink() override;
  void attach(Bridge& bridge) { bridge_ = &bridge; }
  void set_mode(Mode mode);
  void submit(ClientRequest request) override;
  void client_gone(RequestId id) override;

  /// The next request, within 5 s.
  std::optional<ClientRequest> next();
  /// The next client that left, within 5 s.
  std::optional<RequestId> next_gone();
  /// Answers with `max_new` times the word " tok", each in a piece of its own.
  void answer(const ClientRequest& request);
  size_t submitted();

 private:
  template <class T>
  std::optional<T> take(std::deque<T>& from);

  Bridge* bridge_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  Mode mode_ = Mode::answer_at_once;
  size_t submitted_ = 0;
  std::deque<ClientRequest> requests_;
  std::deque<RequestId> gone_;
};

struct TestBridge {
  explicit TestBridge(BridgeConfig config = {});
  Listener listener;
  TestSink sink;
  std::unique_ptr<Bridge> bridge;
  uint16_t port() const { return listener.port; }
};

/// One piece with these tokens and this text.
router_out::Piece piece(std::string text, std::vector<TokenId> tokens, Finish finish = Finish::none,
                        int32_t choice = 0);

}  // namespace troupe::testing
