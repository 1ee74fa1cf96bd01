#include "net/socket_bio.h"

#include <openssl/bio.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>

#include "config/check.h"

namespace troupe {

namespace {

int socket_of(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int result_of(BIO* bio, ssize_t moved, int retry_flag) {
  BIO_clear_retry_flags(bio);
  if (moved < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(moved);
}

int write(BIO* bio, const char* data, int length) {
  const ssize_t sent = ::send(socket_of(bio), data, static_cast<size_t>(length), MSG_NOSIGNAL);
  return result_of(bio, sent, BIO_FLAGS_WRITE);
}

int read(BIO* bio, char* data, int length) {
  const ssize_t got = ::recv(socket_of(bio), data, static_cast<size_t>(length), 0);
  return result_of(bio, got, BIO_FLAGS_READ);
}

long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

BIO_METHOD* make_method() {
  BIO_METHOD* method =
      BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without signals");
  TROUPE_CHECK(method != nullptr);
  BIO_meth_set_write(method, &write);
  BIO_meth_set_read(method, &read);
  BIO_meth_set_ctrl(method, &control);
  BIO_meth_set_create(method, &create);
  return method;
}

}  // namespace

BIO* socket_bio(int socket) {
  static BIO_METHOD* const method = make_method();
  BIO* bio = BIO_new(method);
  TROUPE_CHECK(bio != nullptr);
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  return bio;
}

}  // namespace troupe
