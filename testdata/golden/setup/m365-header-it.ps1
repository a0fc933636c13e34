# Fatto da pecgate per il relay header di pecgate.comune.example. docs/groupware.md spiega ogni riga.
# Da sapere prima di eseguirlo: every customer of Microsoft 365 connects from the same addresses with the same certificate, so any of them could name your users: make a secret with pecgate password --secret and write it as secret_header: of the relay
# Microsoft 365: da eseguire in PowerShell con il modulo ExchangeOnlineManagement, dopo Connect-ExchangeOnline, come amministratore di Exchange.
# Si ferma al primo errore, invece di proseguire a meta'.
$ErrorActionPreference = 'Stop'
# Il nome di cio' che viene creato e il commento che lo riconosce: il resto non viene toccato.
$Name = 'pecgate header'
$Marker = 'Made by pecgate setup m365 for relay header'
# Indirizzi pubblici da cui il gateway si collega a Microsoft 365.
$GatewayAddresses = @('198.51.100.7')

# 1. In uscita: il connettore porta solo cio' che una regola gli affida, su TLS, e solo se il gateway mostra il suo certificato.
$outbound = @{
    ConnectorType = 'OnPremises'
    IsTransportRuleScoped = $true
    UseMXRecord = $false
    SmartHosts = @('pecgate.comune.example')
    TlsSettings = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-OutboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-OutboundConnector -Name $Name @outbound
} elseif ($old.Comment -eq $Marker) {
    Set-OutboundConnector -Identity $Name @outbound
} else {
    throw "the outbound connector $Name exists and was not made by this script: rename it"
}

# 2. Ritorno: cio' che arriva dagli indirizzi del gateway e' nostro e deve arrivare su TLS.
$inbound = @{
    ConnectorType = 'OnPremises'
    SenderDomains = @('*')
    SenderIPAddresses = $GatewayAddresses
    RequireTls = $true
    CloudServicesMailEnabled = $false
    Comment = $Marker
    Enabled = $true
}
$old = Get-InboundConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-InboundConnector -Name $Name @inbound
} elseif ($old.Comment -eq $Marker) {
    Set-InboundConnector -Identity $Name @inbound
} else {
    throw "the inbound connector $Name exists and was not made by this script: rename it"
}

# 3. Regole di trasporto.

# Crea una regola di trasporto, o reimposta quella con questo nome se e' nostra.
function Set-PecgateRule {
    param([string]$RuleName, [hashtable]$Settings)
    $old = Get-TransportRule | Where-Object { $_.Name -eq $RuleName }
    if (-not $old) {
        New-TransportRule -Name $RuleName -Comments $Marker @Settings
    } elseif ($old.Comments -eq $Marker) {
        Set-TransportRule -Identity $RuleName @Settings
    } else {
        throw "the mail-flow rule $RuleName exists and was not made by this script: rename it"
    }
    $script:Rules += $RuleName
}
# Nomi delle regole attuali; quelle in piu' di un'esecuzione precedente vengono tolte alla fine.
$script:Rules = @()

# Posta dal gateway: nessun disclaimer, nessun antispam. Una busta firmata e modificata non vale nulla.
# E' la prima e l'ultima regola per questi messaggi: nessun'altra aggiunge testo.
$rule = @{
    SenderIpRanges = $GatewayAddresses
    SetSCL = -1
    StopRuleProcessing = $true
    Priority = 0
}
Set-PecgateRule -RuleName 'pecgate header from the gateway' -Settings $rule

# Il campo che indica l'utente viene tolto da ogni messaggio, chiunque l'abbia scritto ...
$rule = @{
    RemoveHeader = 'X-Pecgate-User-7f3a91c2'
    Priority = 1
}
Set-PecgateRule -RuleName 'pecgate header identity strip' -Settings $rule
# ... e messo per chi puo' scrivere una PEC. InOrganization: solo su connessione autenticata.
$identities = @(
    @{ Rule = 'pecgate header user mario'; Email = 'mario.rossi@comune.example'; Login = 'mario' }
    @{ Rule = 'pecgate header user sean'; Email = 'sean.o''brien@comune.example'; Login = 'sean' }
)
foreach ($person in $identities) {
    $rule = @{
        From = $person.Email
        FromScope = 'InOrganization'
        SenderAddressLocation = 'Header'
        SetHeaderName = 'X-Pecgate-User-7f3a91c2'
        SetHeaderValue = $person.Login
        Priority = 2
    }
    Set-PecgateRule -RuleName $person.Rule -Settings $rule
}

# Cio' che e' contrassegnato esce dal connettore: una regola per contrassegno, solo per chi si e' autenticato.
# L'indirizzo del PC del mittente viene tolto.
$rule = @{
    FromAddressMatchesPatterns = @('^protocollo@pec\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by from' -Settings $rule
$rule = @{
    SubjectMatchesPatterns = @('\[\s*PEC\s*(\]|:)')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by subject' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('\.pec$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by suffix' -Settings $rule
$rule = @{
    RecipientAddressMatchesPatterns = @('@pecgate\.comune\.example$')
    FromScope = 'InOrganization'
    SentToScope = 'NotInOrganization'
    RouteMessageOutboundConnector = $Name
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate header out by replies' -Settings $rule

# Regole di un'esecuzione precedente che non servono piu', come quelle di utenti usciti.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker -and $script:Rules -notcontains $_.Name } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# 4. Formato di cio' che esce.

# Domini remoti: niente winmail.dat (TNEF), che rende inutile una PEC, e nulla di automatico verso indirizzi PEC.
$remoteDomains = @{ 'pecgate header *.pec' = '*.pec'; 'pecgate header pecgate.comune.example' = 'pecgate.comune.example' }
$remote = @{
    TNEFEnabled = $false
    AllowedOOFType = 'None'
    AutoReplyEnabled = $false
    AutoForwardEnabled = $false
    DeliveryReportEnabled = $false
    NDREnabled = $false
    MeetingForwardNotificationEnabled = $false
}
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    # I domini remoti non hanno commento: uno gia' creato da altri per lo stesso dominio resta com'e'.
    $other = Get-RemoteDomain | Where-Object { "$($_.DomainName)" -eq $domain -and $_.Name -ne $key }
    if ($other) {
        throw "the remote domain $($other.Name) for $domain was not made by this script: set its TNEFEnabled to false or remove it"
    }
    if (-not (Get-RemoteDomain | Where-Object { $_.Name -eq $key })) {
        New-RemoteDomain -Name $key -DomainName $domain
    }
    Set-RemoteDomain -Identity $key @remote
}

# Gli altri destinatari seguono il dominio remoto Default. Non e' nostro e resta com'e': qui si guarda soltanto.
$default = Get-RemoteDomain -Identity 'Default'
if ($default.TNEFEnabled -ne $false) {
    Write-Warning 'Messages in rich text may leave with winmail.dat, and the gateway refuses them. To send none: Set-RemoteDomain -Identity Default -TNEFEnabled $false'
}

Write-Host 'Done. Test it: send a message to yourself through the gateway.'
