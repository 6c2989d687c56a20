// A session by the client that oapi-codegen makes.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"doorward-generated/by_oapi_codegen/client"
)

const (
	email    = "oapi@example.com"
	password = "seven otters juggle lanterns"
)

func main() {
	ctx := context.Background()
	access := ""
	bearer := func(_ context.Context, request *http.Request) error {
		if access != "" {
			request.Header.Set("Authorization", "Bearer "+access)
		}
		return nil
	}
	api, err := client.NewClientWithResponses(os.Getenv("ISSUER"), client.WithRequestEditorFn(bearer))
	check(err)

	account, err := api.RegisterWithResponse(ctx, client.Registration{Email: email, Password: password})
	check(err)
	expect(account.StatusCode(), http.StatusCreated)
	wrong, err := api.LogInWithResponse(ctx, client.Login{Email: email, Password: "not the password"})
	check(err)
	expect(string(wrong.ApplicationproblemJSON401.Code), "invalid_credentials")
	first, err := api.LogInWithResponse(ctx, client.Login{Email: email, Password: password})
	check(err)
	key := "a-key-of-this-attempt"
	second, err := api.RefreshWithResponse(ctx, &client.RefreshParams{IdempotencyKey: &key},
		client.Refresh{RefreshToken: first.JSON200.RefreshToken})
	check(err)
	expect(int(second.JSON200.Generation), 1)
	expect(second.JSON200.RetryWindow, 30)
	access = *second.JSON200.AccessToken
	me, err := api.MeWithResponse(ctx)
	check(err)
	expect(me.JSON200.Id, account.JSON201.Id)
	ended, err := api.LogOutWithResponse(ctx, &client.LogOutParams{}, client.Logout{})
	check(err)
	expect(ended.StatusCode(), http.StatusNoContent)
	after, err := api.MeWithResponse(ctx)
	check(err)
	expect(string(after.ApplicationproblemJSON401.Code), "token_revoked")
	fmt.Println("oapi-codegen: works")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect[T comparable](is, wanted T) {
	if is != wanted {
		log.Fatalf("%v, not %v", is, wanted)
	}
}
