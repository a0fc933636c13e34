package submit

import "context"

// Try logs in and says goodbye: nothing is handed over. The class is HandedOver
// where the login was taken; all else is as of Send.
func Try(ctx context.Context, srv Server) Result {
	if srv.Timeout <= 0 {
		srv.Timeout = defaultTimeout
	}
	s := &session{srv: srv}
	s.finish(ctx, s.tryLogin(ctx))
	return s.res
}

func (s *session) tryLogin(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	socket := s.conn
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	defer func() { s.conn.Close() }()
	if err := s.login(ctx); err != nil {
		return err
	}
	s.leave("QUIT\r\n", true)
	return nil
}
