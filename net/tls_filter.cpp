#include "net/tls_filter.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <limits>

#include "config/check.h"

namespace troupe {

Result<std::shared_ptr<const TlsContext>> TlsContext::load(const std::string& certificate,
                                                           const std::string& key) {
  SSL_CTX* native = SSL_CTX_new(TLS_server_method());
  TROUPE_CHECK(native != nullptr);
  std::shared_ptr<const TlsContext> context(new TlsContext(native));
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  // Sessions would be kept per server process; tickets need no memory and are on by default.
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(native, certificate.c_str()) != 1) {
    ERR_clear_error();
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{}: no PEM certificate can be read from it; give a certificate chain file",
                    certificate));
  }
  if (SSL_CTX_use_PrivateKey_file(native, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(native) != 1) {
    ERR_clear_error();
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("{}: not the PEM private key of {}; give the key the certificate was made for",
                    key, certificate));
  }
  return context;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

TlsFilter::TlsFilter(std::shared_ptr<const TlsContext> context)
    : context_(std::move(context)), ssl_(SSL_new(context_->native())) {
  TROUPE_CHECK(ssl_ != nullptr);
  SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(ssl_);
}

TlsFilter::~TlsFilter() { SSL_free(ssl_); }

void TlsFilter::drain(std::string& wire) {
  BIO* bio = SSL_get_wbio(ssl_);
  const size_t pending = BIO_ctrl_pending(bio);
  if (pending == 0) return;
  const size_t before = wire.size();
  wire.resize(before + pending);
  const int got = BIO_read(bio, wire.data() + before, static_cast<int>(pending));
  wire.resize(before + static_cast<size_t>(got > 0 ? got : 0));
}

TlsFilter::Status TlsFilter::receive(std::string_view bytes, std::string& plain,
                                     std::string& wire) {
  ERR_clear_error();
  TROUPE_CHECK(bytes.size() <= static_cast<size_t>(std::numeric_limits<int>::max()));
  BIO_write(SSL_get_rbio(ssl_), bytes.data(), static_cast<int>(bytes.size()));
  char buffer[16 * 1024];
  while (true) {
    const int got = SSL_read(ssl_, buffer, sizeof buffer);
    if (got > 0) {
      plain.append(buffer, static_cast<size_t>(got));
      continue;
    }
    const int why = SSL_get_error(ssl_, got);
    established_ = SSL_is_init_finished(ssl_) == 1;
    drain(wire);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return Status::open;
    return why == SSL_ERROR_ZERO_RETURN ? Status::closed : Status::failed;
  }
}

bool TlsFilter::send(std::string_view plain, std::string& wire) {
  if (!established_) return false;
  ERR_clear_error();
  // A memory BIO takes everything, so one call writes all of it.
  size_t written = 0;
  const bool sent = plain.empty() || SSL_write_ex(ssl_, plain.data(), plain.size(), &written) == 1;
  drain(wire);
  ERR_clear_error();
  return sent;
}

void TlsFilter::close(std::string& wire) {
  if (!established_) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  drain(wire);
  ERR_clear_error();
}

}  // namespace troupe
