// A client that knows nothing of the code under test: raw bytes out, a small reader of HTTP answers
// in. Every read has a deadline, so that a server that is silent fails a test instead of hanging
// it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct ssl_st;
struct ssl_ctx_st;

namespace troupe::testing {

struct RawAnswer {
  int status = 0;
  std::string head;
  std::map<std::string, std::string> headers;  ///< lower-case names
  std::string body;                            ///< chunks already joined
  bool ended = false;                          ///< the connection ended before the answer did
};

class RawClient {
 public:
  explicit RawClient(uint16_t port);
  /// TLS without verification: the test makes its own certificate.
  static RawClient with_tls(uint16_t port);
  ~RawClient();
  RawClient(RawClient&& other) noexcept;
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes);
  void shut_down_sending();
  /// Closes with a reset, as a killed client with unread data would.
  void reset();
  void close();

  /// The next whole answer; `head_only` for HEAD.
  RawAnswer read_answer(bool head_only = false);
  /// The head of the next answer; the body stays.
  RawAnswer read_head();
  /// Bytes of a chunked body until `end` stands in them or the time is over.
  std::string read_until(std::string_view end);
  /// Whether the server closes the connection within the deadline; what came before is in `rest`.
  bool at_end(std::string* rest = nullptr);
  void set_deadline(std::chrono::milliseconds within) { within_ = within; }
  /// Protocol spoken, for TLS.
  std::string tls_version() const;

 private:
  RawClient() = default;
  bool fill();  ///< more bytes into buffer_; false at the end or deadline
  std::optional<std::string> read_line();

  int fd_ = -1;
  ssl_ctx_st* context_ = nullptr;
  ssl_st* ssl_ = nullptr;
  std::string buffer_;
  bool timed_out_ = false;
  std::chrono::milliseconds within_{5000};
};

/// "POST path" with this body, keep-alive.
std::string post(std::string_view path, std::string_view body, std::string_view more_headers = {});
std::string get(std::string_view path, std::string_view more_headers = {});

}  // namespace troupe::testing
